"""Tables of facts for reading Korean: letters, units, counters, words with a pronunciation of their own."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


LATIN_LETTERS = dict(
    zip(
        "abcdefghijklmnopqrstuvwxyz",
        _words(
            "에이 비 시 디 이 에프 지 에이치 아이 제이 케이 엘 엠 엔 오 피 큐 아르 에스 티 유 브이 더블유 엑스 "
            "와이 제트"
        ),
        strict=True,
    )
)

# Latin words and names that are said as words, not as letters.
LATIN_WORDS = {
    "nasa": "나사", "nato": "나토", "unesco": "유네스코", "unicef": "유니세프", "opec": "오펙", "wifi": "와이파이",
    "wi-fi": "와이파이", "mp3": "엠피쓰리", "mp4": "엠피포", "a3": "에이쓰리", "a4": "에이포",
    "jpeg": "제이펙", "3d": "쓰리디", "2d": "투디",
    "4k": "포케이", "8k": "에이트케이", "3g": "쓰리지", "4g": "포지", "5g": "파이브지", "k-pop": "케이팝",
    "kpop": "케이팝", "vs": "대", "ceo": "시이오", "ok": "오케이", "no": "노", "email": "이메일", "e-mail": "이메일",
    "app": "앱", "iphone": "아이폰", "ipad": "아이패드", "youtube": "유튜브", "google": "구글", "naver": "네이버",
    "kakao": "카카오", "samsung": "삼성", "apple": "애플", "windows": "윈도", "android": "안드로이드",
    "usb": "유에스비", "chatgpt": "챗지피티", "http": "에이치티티피", "https": "에이치티티피에스", "com": "컴",
    "covid": "코비드", "fifa": "피파", "ikea": "이케아", "lego": "레고", "hello": "헬로", "hi": "하이", "yes": "예스",
    "github": "깃허브",
}  # fmt: skip

CURRENCIES = {
    "$": "달러", "US$": "달러", "HK$": "홍콩 달러", "₩": "원", "￦": "원", "€": "유로", "£": "파운드",
    "¥": "엔", "￥": "엔",
    "元": "위안", "USD": "달러", "KRW": "원", "EUR": "유로", "JPY": "엔", "₿": "비트코인", "฿": "바트", "₫": "동",
    "₹": "루피",
}  # fmt: skip

# Counters that take native numerals, hundreds before them in Sino-Korean (삼백예순다섯 개), as in g2pk2.
MIXED_COUNTERS = frozenset(
    _words(
        "군데 권 개 그루 자루 닢 대 마리 모 모금 뭇 발 발짝 방 번 번째 벌 보루 살 술 시 쌈 움큼 정 짝 채 척 첩 축 "
        "켤레 톨 통"
    )
)
# Counters that take native numerals below the number given, Sino-Korean ones from there on.
NATIVE_BELOW = {
    **dict.fromkeys(
        _words(
            "명 사람 시간 잔 병 컵 그릇 송이 곳 가지 장 달 쌍 조각 줄 끼 판 바퀴 방울 봉지 포기 팀 식구 자리 "
            "칸 걸음 차례 골 숟가락 큰술 작은술 스푼 티스푼 묶음 "
            "다발 곡 편 마디 해 상자 접시 알 갈래 줄기 꼬치 갑 건 가구 종류 "
            "그룹 세트 박스 팩 쪽지 문장 단어 글자"
        ),
        100,
    ),
    "배": 11,
    "시": 13,
}
# Counters that begin like a native one but take Sino-Korean numerals.
SINO_COUNTERS = _words(
    "개월 개국 개년 개사 개교 개소 시즌 번지 번길 번가 대대 대학 대로 달러 통화 정거장 정보 배속 배럴 "
    "명령 장관 건물 가족 해리 분"
)

# Nouns after which a number with 번 names one of many, and is Sino-Korean: 3번 출구.
NUMBERED = _words(
    "출구 버스 트랙 문제 선수 홀 국도 타자 게이트 플랫폼 승강장 채널 마을버스 좌석 참가자 학생 후보 손님 환자 카드 "
    "방 창구 문항 줄 칸 염색체 도로 구역 교향곡 투수 주자 아이언 우드 레인 사물함 테이블 정류장 레일 항목 보기 답 "
    "각주 척추 구장 국번 서버 카메라 트럭 노선 승객 고객 대기자"
)
# Nouns after which a number with 대 counts generations or the great ones, and is Sino-Korean: 3대 가족.
GENERATIONS = _words(
    "가족 세습 째 요소 원칙 강국 명문 천왕 거짓말 독자 국회 대통령 총리 국왕 의무 영양소 종교 도시 문명 악법 성인 "
    "사장 회장 이사장 교장 황제 조건 과제 재벌 그룹 은행"
)
# Consonants that stand for words between people who chat.
CHAT_CONSONANTS = {
    "ㅇㅋ": "오케이", "ㅇㅇ": "응응", "ㄴㄴ": "노노", "ㄱㄱ": "고고", "ㄷㄷ": "덜덜", "ㄱㅅ": "감사", "ㅅㄱ": "수고",
    "ㅊㅋ": "추카", "ㅂㅂ": "바이바이", "ㅂㅇ": "바이",
}  # fmt: skip

ROMAN = {
    **{chr(0x2160 + n): n + 1 for n in range(12)},
    **{chr(0x2170 + n): n + 1 for n in range(12)},
}

# Signs that carry sense between or beside numbers.
SIGNS = {
    "+": "플러스", "×": "곱하기", "÷": "나누기", "=": "은", "±": "플러스마이너스", "√": "루트", "∞": "무한대",
    "≒": "약",
}  # fmt: skip
SYMBOL_WORDS = {
    "±": "플러스마이너스", "√": "루트", "π": "파이", "×": " 곱하기 ", "÷": " 나누기 ", "²": "제곱", "³": "세제곱",
    "&": "앤드", "℃": "도",
    "№": "번호", "㈜": "주식회사", "♥": "하트", "❤": "하트", "→": "에서",
}  # fmt: skip

# Figures that have a name of their own.
NAMED_FIGURES = {
    "1+1": "원 플러스 원", "2+1": "투 플러스 원", "코로나19": "코로나 일구", "88올림픽": "팔팔올림픽",
    "88 올림픽": "팔팔 올림픽", "7080": "칠공팔공", "H2O": "에이치투오", "H₂O": "에이치투오",
    "CO2": "시오투", "CO₂": "시오투", "365일 24시간": "삼백육십오일 이십사시간",
}  # fmt: skip
