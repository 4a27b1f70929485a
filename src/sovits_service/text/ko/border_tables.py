"""Tables of facts about Korean word borders: Sino-Korean syllables, words that change the sound they meet."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Every reading of the 4,888 Chinese characters of KS X 1001 (Unihan's kHangul).
SINO_SYLLABLES = frozenset(
    "가각간갈감갑강개객갱갹거건걸검겁게격견결겸경계고곡곤골공과곽관괄광괘괴굉교구국군굴궁권궐궤귀규균귤극근금급긍기"
    "긴길끽나난날남납낭내녀년념녕노농뇌뇨눈눌뉴능니닉다단달담답당대덕도독돈돌동두둔득등라락란랄람랍랑래랭략량려력련"
    "렬렴렵령례로록론롱뢰료룡루류륙륜률륭륵름릉리린림립마막만말망매맥맹멱면멸명몌모목몰몽묘무묵문물미민밀박반발방배"
    "백번벌범법벽변별병보복본볼봉부북분불붕비빈빙사삭산살삼삽상새색생서석선설섬섭성세소속손솔송쇄쇠수숙순술숭슬습승"
    "시식신실심십쌍씨아악안알암압앙애액앵야약양어억언얼엄업엔여역연열염엽영예오옥온올옹와완왈왕왜외요욕용우욱운울웅"
    "원월위유육윤율융은을음읍응의이익인일임입잉자작잔잠잡장재쟁저적전절점접정제조족존졸종좌죄주죽준줄중즉즐즙증지직"
    "진질짐집징차착찬찰참창채책처척천철첨첩청체초촉촌총촬최추축춘출충췌취측층치칙친칠침칩칭쾌타탁탄탈탐탑탕태택탱터"
    "토통퇴투특틈파판팔패팽퍅편폄평폐포폭표품풍피필핍하학한할함합항해핵행향허헌헐험혁현혈혐협형혜호혹혼홀홍화확환활"
    "황회획횡효후훈훙훤훼휘휴휼흉흑흔흘흠흡흥희힐"
)
NUMERALS = frozenset("공영일이삼사오육칠팔구십백천만억조")
# Sino-Korean counters that are tense after 일, 칠 and 팔.
TENSED_COUNTERS = frozenset("조장절점도대등단세주")

# Words that end in ㄹ, or have it within, and are not Sino-Korean though their syllables could be.
NATIVE_IN_L = _words(
    "서울 마을 가을 겨울 거울 이슬 구슬 사슬 오늘 하늘 노을 방울 저울 시골 산골 개울 고을 나물 그물 가물 술 물 말 "
    "발 길잡이 두벌식 세벌식 몰도바 몰다비아 불도저 알제 알제리 알자스 울새 물대포 팔다리 줄다리기 불장난 말다 달다 "
    "일도 일주 날 달 돌 살 일"
)

# Second parts of compounds that are tense after ㄴ, ㄹ, ㅁ, ㅇ (article 28), those that are after a single syllable,
# and adjectives after which none is.
TENSED_IN_COMPOUNDS = _words(
    "길 값 불 빛 바람 속 바닥 가락 가루 거리 구멍 결 줄기 수건 짓 기운 방울 그릇 봉우리 송이 덩이"
)
TENSED_AFTER_ONE = _words("집 가 병")
ADJECTIVES = _words("한 큰 작은 잔 군 첫 새 온 맨 날 헌 옛 헛 올 선 된 긴 짧은 생선 은")
# Sino-Korean suffixes that are tense after any word of two syllables, and words that only seem to have them.
TENSED_SUFFIXES = _words("성 권 증 법 세 과 죄")
NOT_TENSED = _words(
    "영수증 명왕성 천왕성 해왕성 천랑성 모래성 불야성 기라성 환호성 자금성 만리장성 무화과 은화과 유밀과 이불 생불 "
    "선불 후불 큰불 단속 존속 전속 금속 연속 영속 상속 단결 연결 간결 순결 동결 완결 종결 청결 전가 인가 안가 선가 "
    "한가 양가 은가 장병 화병 간병 금가루 21세"
)
# Native second parts that follow a Sino-Korean ㄹ without a change.
NATIVE_AFTER_L = _words("새 줄 살 집")

# Suffixes whose ㄹ is said ㄴ after ㄴ, and words in which the two meet otherwise (대관령 [대괄령]).
LIQUID_SUFFIXES = frozenset("론력량란령료로례룸")
LIQUID_WORDS = _words(
    "연료 원료 진료 만료 완료 관례 전례 선례 인력 전력 권력 근력 분량 신령 전령 논란 혼란 반란 난로 진로 선로 원로 "
    "언론 본론 반론 산란 문란 찬란 곤란 단련 관령 연령 한량 선량 연로"
)

# Second parts of compounds before which ㄴ is added: of one syllable, and of those that begin with 이 the native ones.
ADDS_N_ALONE = _words("역 약 유 용 염 욕 엿 윷 요 양")
NO_N_ADDED = _words("월요일 일요일 금요일 목요일 악영향 악역 송별연 등용문 태평양 대서양 희생양 맹장염 절약 역이용")
ADDS_N_BEFORE_I = ("이불", "이야기", "이마", "이끼", "이삭", "이슬", "잎", "일거리", "일꾼")

# Endings that begin with -(으)ㄹ; what follows it is tense.
CONTRACTED_AFTER_L = ("게", "지", "걸", "수록", "세라", "진대", "거", "데")
