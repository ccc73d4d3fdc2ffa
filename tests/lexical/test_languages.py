"""Terms in other languages than English, by hand from the rules of Unicode, Lucene's CJKAnalyzer and Snowball."""

from __future__ import annotations

import unicodedata

import pytest

from simlm.config.kinds.bm25 import LANGUAGES
from simlm.lexical.analyzers import Analyzer
from simlm.lexical.bm25 import Bm25Index


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("हिन्दी किताब।", ["हिन्दी", "किताब"]),
        ("বাংলা ভাষা", ["বাংলা", "ভাষা"]),
        ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
        ("שָׁלוֹם עולם", [unicodedata.normalize("NFC", "שָׁלוֹם"), "עולם"]),
        ("مُحَمَّد", [unicodedata.normalize("NFC", "مُحَمَّد")]),
        ("می\u200cخواهم", ["می", "خواهم"]),
        ("क्\u200dष", ["क्ष"]),
        ("中文信息检索", ["中文", "文信", "信息", "息检", "检索"]),
        ("水", ["水"]),
        ("用Python3写、代码。", ["用", "python3", "写", "代码"]),
        ("東京へ行く", ["東京", "京へ", "へ行", "行く"]),
        ("スーパー・マーケット", ["スー", "ーパ", "パー", "マー", "ーケ", "ケッ", "ット"]),
        ("ﾃﾞｰﾀ ＡＰＩ２", ["デー", "ータ", "api2"]),
        ("한국어 책", ["한국", "국어", "책"]),
        ("ไทย", ["ไท", "ทย"]),
        ("ที่นี่", ["ที่นี่"]),
        ("ລາວ", ["ລາ", "າວ"]),
        ("ភាសាខ្មែរ", ["ភាសា", "សាខ្", "ខ្មែ", "មែរ"]),
        ("မြန်မာ။", ["မြန်", "န်မာ"]),
        ("\U00020000\U00020001", ["\U00020000\U00020001"]),
        ("Größe ½ x² naïve", ["größe", "½", "x²", "naïve"]),
        ("İstanbul", ["istanbul"]),
        ("ΟΔΟΣ, Σίσυφος", ["οδος", "σίσυφος"]),
        ("ĐƯỜNG Việt Nam", ["đường", "việt", "nam"]),
        ("ﬁnd the ﬂow", ["find", "the", "flow"]),
        ("ﻛﺘﺎﺏ كتاب", ["كتاب", "كتاب"]),
        ("😀", []),
        ("hello😀world 👩\u200d👩\u200d👧 ❤\ufe0f", ["hello", "world"]),
        ("١٢٣ १२", ["123", "12"]),
        ("so\u00adft zero\u200bwidth", ["soft", "zero", "width"]),
        ("x\u0302 y", ["x\u0302", "y"]),
        ("\u0301", []),
    ],
)
def test_words_of_many_scripts(text, terms):
    assert Analyzer("words")(text) == terms
    assert Analyzer("split_names")(text)[: len(terms)] == terms


@pytest.mark.parametrize("text", ["café Ångström", "한국어", "ガギグ", "Việt Nam", "कि़ताब"])
def test_composed_and_decomposed_text_meet(text):
    forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]
    for name in ("words", "stemmed", "split_names", "french"):
        assert Analyzer(name)(forms[0]) == Analyzer(name)(forms[1])


@pytest.mark.parametrize(
    ("language", "text", "terms"),
    [
        ("german", "Die Häuser und das Haus", ["haus", "haus"]),
        ("french", "les chevaux de la reine", ["cheval", "rein"]),
        ("russian", "книги и книга", ["книг", "книг"]),
        ("spanish", "las canciones", ["cancion"]),
        ("finnish", "talossa", ["talo"]),
        ("turkish", "IŞIK İçin", ["ışık"]),
        ("polish", "", []),
    ],
)
def test_stemmers_and_stop_words_of_a_language(language, text, terms):
    assert Analyzer(language)(text) == terms


def test_every_stemmer_of_the_library_can_be_named():
    import Stemmer

    assert set(LANGUAGES) == set(Stemmer.algorithms()) - {"english", "porter", "dutch_porter"}


@pytest.mark.parametrize(
    ("passages", "query", "first"),
    [
        (["北京是中国的首都", "上海是中国最大的城市", "苹果是一种水果"], "中国首都", 0),
        (["東京は日本の首都です", "大阪はおいしい", "猫が好きです"], "日本の首都", 0),
        (["กรุงเทพเป็นเมืองหลวงของไทย", "เชียงใหม่อยู่ทางเหนือ", "แมวชอบปลา"], "เมืองหลวง", 0),
        (["अच्छी किताब पढ़ो", "पानी पियो", "किताबें नहीं"], "किताब", 0),
        (["un café noir", "un the vert", "deux chats"], "cafe\u0301", 0),
    ],
)
def test_a_query_finds_its_passage(passages, query, first):
    rows, scores = Bm25Index.build(passages, "words").search([query], 3)
    assert rows[0, 0] == first
    assert scores[0, 0] > 0


def test_chinese_scores_are_those_of_the_formula_over_pairs():
    """Three passages, by hand: idf = ln(1 + (N - df + 0.5) / (df + 0.5)), tf / (tf + k1 (1 - b + b len / avg))."""
    from math import log

    passages = ["北京首都", "首都", "水果"]  # 3, 1 and 1 pairs
    index = Bm25Index.build(passages, "words", k1=0.9, b=0.4)
    idf, average = log(1 + (3 - 2 + 0.5) / 2.5), 5 / 3
    expected = [idf / (1 + 0.9 * (0.6 + 0.4 * length / average)) for length in (3, 1)]
    rows, scores = index.search(["首都"], 3)
    assert rows[0].tolist() == [1, 0, -1]
    assert scores[0, :2].tolist() == pytest.approx([expected[1], expected[0]], rel=1e-6)
