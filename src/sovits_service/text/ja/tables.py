"""Tables of facts for reading Japanese: units, currencies, signs, words that OpenJTalk misreads or spells."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


CURRENCIES = {
    "US$": "ドル", "HK$": "香港ドル", "NT$": "台湾ドル", "A$": "豪ドル", "C$": "カナダドル", "$": "ドル",
    "¥": "円", "￥": "円", "€": "ユーロ", "£": "ポンド", "₩": "ウォン", "元": "元",
    "USD": "ドル", "JPY": "円", "EUR": "ユーロ", "₿": "ビットコイン", "฿": "バーツ", "₹": "ルピー",
}  # fmt: skip

SIGNS = {"+": "プラス", "×": "かける", "÷": "わる", "=": "イコール", "±": "プラスマイナス", "≒": "ニアリーイコール"}

DIGITS = ("ゼロ", "イチ", "ニー", "サン", "ヨン", "ゴー", "ロク", "ナナ", "ハチ", "キュー")

# Words that the dictionary lacks or reads otherwise than people do.
WORDS = {
    "100均": "ヒャッキン", "百均": "ヒャッキン",
    "№": "ナンバー", "±": "プラスマイナス", "√": "ルート", "七五三": "シチゴサン", "２ちゃんねる": "ニチャンネル",
    "何卒": "ナニトゾ", "御御御付": "オミオツケ", "其処": "ソコ", "㈱": "カブシキガイシャ", "㈲": "ユーゲンガイシャ",
    "〒": "郵便番号", "行く方": "いく方", "MP3": "エムピースリー", "MP4": "エムピーフォー", "PS5": "ピーエスファイブ",
    "K-POP": "ケーポップ", "J-POP": "ジェーポップ", "K-pop": "ケーポップ", "J-pop": "ジェーポップ",
    "Wi-Fi": "ワイファイ", "UFO": "ユーフォー", "&": "アンド", "＆": "アンド",
}  # fmt: skip

LATIN_WORDS = {
    "nasa": "ナサ", "nato": "ナトー", "unesco": "ユネスコ", "wifi": "ワイファイ", "wi-fi": "ワイファイ",
    "python": "パイソン", "chatgpt": "チャットジーピーティー", "covid": "コービッド", "vs": "バーサス",
    "ver": "バージョン", "tower": "タワー", "the": "ザ", "you": "ユー", "thank": "サンク", "good": "グッド",
    "morning": "モーニング", "night": "ナイト", "day": "デイ", "happy": "ハッピー", "birthday": "バースデー",
    "christmas": "クリスマス", "new": "ニュー", "year": "イヤー", "love": "ラブ", "game": "ゲーム",
    "music": "ミュージック", "live": "ライブ", "movie": "ムービー", "world": "ワールド", "japan": "ジャパン",
    "news": "ニュース", "cafe": "カフェ", "café": "カフェ", "coffee": "コーヒー", "store": "ストア", "app": "アプリ",
    "web": "ウェブ", "online": "オンライン", "email": "イーメール", "mail": "メール", "phone": "フォン",
    "android": "アンドロイド", "windows": "ウィンドウズ", "linux": "リナックス", "github": "ギットハブ",
    "docker": "ドッカー", "iphone": "アイフォーン", "ipad": "アイパッド", "google": "グーグル",
    "youtube": "ユーチューブ", "zoom": "ズーム", "ios": "アイオーエス", "excel": "エクセル", "word": "ワード",
    "test": "テスト", "start": "スタート", "stop": "ストップ", "yes": "イエス", "no": "ノー", "ok": "オーケー",
    "hello": "ハロー", "bye": "バイ", "team": "チーム", "party": "パーティー", "free": "フリー", "sale": "セール",
    "open": "オープン", "data": "データ", "code": "コード", "server": "サーバー",
}  # fmt: skip

LETTERS = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        _words(
            "エー ビー シー ディー イー エフ ジー エイチ アイ ジェー ケー エル エム エヌ オー ピー キュー "
            "アール エス ティー ユー ブイ ダブリュー エックス ワイ ゼット"
        ),
        strict=True,
    )
)
