"""The text of a token: its form, and the check by which a mistake is noticed."""

import random
import re

import pytest

from presque.tokens.text import ALPHABET, check_of, digest_of, is_token, new_token


def test_a_new_token_has_43_random_characters_and_a_check():
    texts = {new_token() for _ in range(200)}
    assert len(texts) == 200
    for text in texts:
        assert re.fullmatch(r"presque_[0-9A-Za-z]{49}", text)
        assert is_token(text.encode())


def test_the_check_is_a_crc_32_in_base_62():
    """Other programs that look for tokens depend on it."""
    assert check_of("presque_" + "0" * 43) == "0HOgb7"
    assert is_token(b"presque_" + b"0" * 43 + b"0HOgb7")


def test_one_wrong_character_and_two_that_changed_places_are_noticed():
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(500):
        text = new_token()
        place = chance.randrange(len("presque_"), len(text) - 1)
        other = chance.choice(ALPHABET.replace(text[place], ""))
        assert not is_token(f"{text[:place]}{other}{text[place + 1 :]}".encode())
        swapped = f"{text[:place]}{text[place + 1]}{text[place]}{text[place + 2 :]}"
        assert swapped == text or not is_token(swapped.encode())


@pytest.mark.parametrize("change", [bytes.upper, lambda text: text[:-1], lambda text: text + b"a", lambda text: b""])
def test_what_has_another_form_is_no_token(change):
    text = change(new_token().encode())
    assert not is_token(text)


@pytest.mark.parametrize("end", [b"\n", b" ", b"\0", b"\xff"])
def test_nothing_may_follow(end):
    assert not is_token(new_token().encode() + end)


def test_the_file_knows_a_token_by_what_sha256sum_prints():
    assert digest_of(b"presque_x") == "436baf86c622abee52b2012aa079c8263d961f004fbd8ab5d09f4e9a014a6ccf"
