import pytest

from files.extractors.base import ExtractionFailed
from files.extractors.decoding import decode


@pytest.mark.parametrize(
    ("text", "encoding", "named"),
    [
        ("plain", "ascii", "utf-8"),
        ("Größe", "utf-8-sig", "utf-8"),
        ("id,name\n1,José Núñez\n2,François\n", "cp1252", "cp1252"),
        ("prix: 25 €", "cp1252", "cp1252"),
        ("½ cup", "cp1252", "cp1252"),
        ("Žluťoučký kůň", "cp1250", "windows-1250"),
        ("Привет мир, это тест", "koi8-r", "koi8-r"),
        ("名前,住所\n佐藤,東京\n", "cp932", "cp932"),
        ("שלום עולם", "cp1255", "windows-1255"),
        ("plain words in wide letters", "utf-16-be", "utf-16-be"),
        ("plain words in wide letters", "utf-32-le", "utf-32-le"),
        ("plain words in wide letters", "utf-32-be", "utf-32-be"),
        ("平仮名のひらがな", "iso2022_jp", "iso2022_jp_2"),
        ("한국어 문장입니다", "iso2022_kr", "iso2022_kr"),
        ("Привет мир, это тест\nжили-были\n", "utf-16-le", "utf-16-le"),
        ("百科全書的 條目\n第二行\n", "utf-16-be", "utf-16-be"),
        ("Le café est déjà servi à la fenêtre; où êtes-vous allés cet été ?", "cp1252", "cp1252"),
        ("Perché la città è così bella? Più tardi verrà, però non sarà facile.", "cp1252", "cp1252"),
        ("Größe und Straße: schöne Übergänge für Fußgänger, später öffnen", "mac-roman", "mac-roman"),
        ("Größe und Straße: schöne Übergänge für Fußgänger, später öffnen", "cp850", "cp850"),
        ("Daniel\u2019s track, Anna\u2019s pad", "mac-roman", "mac-roman"),
        ("Naukowcy zauważyli, że zmiana rytmu snu prowadzi do otyłości, którą śledzą", "iso-8859-2", "iso-8859-2"),
        ("После окончательного разорения отца семейства", "cp866", "ibm866"),
        ("MAIN FRAME TEXT\nwith small letters±in±all±its lines\n", "cp500", "cp500"),
    ],
)
def test_text_is_read_in_the_encoding_it_was_written_in(text, encoding, named):
    assert decode(text.encode(encoding)) == (text, named)


def test_utf8_that_was_cut_in_the_middle_of_a_character_stays_utf8():
    assert decode("größer ".encode() * 30 + b"\xe2\x82") == ("größer " * 30 + "\ufffd", "utf-8")


def test_texts_that_zero_bytes_keep_apart_are_not_chinese():
    with pytest.raises(ExtractionFailed) as refused:
        decode(b"a name, \0" * 8)

    assert refused.value.code == "type_mismatch"


@pytest.mark.parametrize("content", [bytes(range(256)) * 8, b"PK\x03\x04", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_text_is_a_mismatch(content):
    with pytest.raises(ExtractionFailed) as refused:
        decode(content)

    assert refused.value.code == "type_mismatch"
