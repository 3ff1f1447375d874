"""Tiny stories from a small grammar: all the text the tiny model learns from is made here.

A story is about one child, one pet and one thing, named again and again, so that it takes attention to tell it. In
every list an option is twice as likely as the next one: then the likeliest story is clearly ahead.
"""

import numpy as np

START, END, UNKNOWN = "<s>", "</s>", "<unk>"

CHILDREN = [("girl", "her", "she", ["Mia", "Ada", "Zoe", "Lena"]), ("boy", "his", "he", ["Ben", "Otto", "Tim", "Max"])]
CHARACTERS = ["little", "clever", "brave", "young"]
BUILDINGS = ["house", "mill", "tower", "tent"]
LOOKS = ["small", "old", "white", "tall"]
REGIONS = ["by the sea", "near the river", "in the forest", "on a hill"]
PETS = ["cat", "dog", "duck", "mouse", "owl", "fox"]
TIMES = ["day", "morning", "evening"]
FINDS = ["found", "made", "bought", "saw"]
COLOURS = ["red", "blue", "green", "golden", "silver"]
THINGS = ["ball", "kite", "boat", "hat", "bell", "drum"]
OUTDOORS = ["garden", "park", "beach", "field"]
INDOORS = ["kitchen", "barn", "attic"]
WISHES = ["play with", "look at", "carry", "hide"]
WATERS = ["pond", "well", "mud"]
HEIGHTS = ["roof", "tree", "cloud"]
THIEVES = ["crow", "goat", "wolf"]
THANKS = ["hugged", "thanked", "kissed"]
TREATS = ["cake", "apple", "biscuit"]
GAMES = ["played", "danced", "sang", "laughed"]
ENDS = ["the moon came up", "it was dark", "bedtime"]


class Teller:
    """Chooses, and keeps the probability of what it chose."""

    def __init__(self, random):
        self._random = random
        self.nats = 0.0

    def choose(self, options):
        weights = 0.5 ** np.arange(len(options))
        probabilities = weights / weights.sum()
        index = self._random.choice(len(options), p=probabilities)
        self.nats -= np.log(probabilities[index])
        return options[index]


def story(random):
    """The words of a story, from START to END, and -ln of its probability."""
    teller = Teller(random)
    words = told_by(teller.choose).split()
    return [START, *words, END], teller.nats


def vocabulary():
    """Every word that occurs, the special ones first: the index is the token. From stories told without favourites."""
    fair = np.random.default_rng(0)
    texts = (told_by(lambda options: options[fair.integers(len(options))]) for _ in range(1000))
    return [UNKNOWN, START, END, *sorted({word for text in texts for word in text.split()})]


def told_by(choose):
    """The words of a story between START and END, one space apart; choose(options) returns one of the options."""
    child, her, she, names = choose(CHILDREN)
    name, pet, colour, thing = choose(names), choose(PETS), choose(COLOURS), choose(THINGS)
    weather, mishap = choose([_sunny, _rainy]), choose([_wet, _blown, _stolen])
    return " ".join([
        f"Once upon a time there was a {choose(CHARACTERS)} {child} named {name} .",
        f"{name} lived in {_with_article(choose(LOOKS))} {choose(BUILDINGS)} {choose(REGIONS)} with {her} {pet} .",
        f"One {choose(TIMES)} {name} {choose(FINDS)} a {colour} {thing} .",
        weather(choose, she, thing),
        f"The {pet} wanted to {choose(WISHES)} the {colour} {thing} too .",
        *mishap(choose, name, pet, thing),
        f"{name} {choose(THANKS)} {her} {pet} and they shared {_with_article(choose(TREATS))} .",
        f"They {choose(GAMES)} with the {colour} {thing} until {choose(ENDS)} .",
    ])


def _sunny(choose, she, thing):
    return f"The sun was shining , so {she} took the {thing} to the {choose(OUTDOORS)} ."


def _rainy(choose, she, thing):
    return f"It was raining , so {she} took the {thing} to the {choose(INDOORS)} ."


def _wet(choose, name, pet, thing):
    water = choose(WATERS)
    return (f"But the {thing} fell into the {water} and {name} was sad .",
            f"The {pet} jumped into the {water} and brought the {thing} back to {name} .")


def _blown(choose, name, pet, thing):
    height = choose(HEIGHTS)
    return (f"But the wind blew the {thing} up to the {height} and {name} was sad .",
            f"The {pet} climbed up to the {height} and brought the {thing} back to {name} .")


def _stolen(choose, name, pet, thing):
    thief = choose(THIEVES)
    return (f"But a {thief} stole the {thing} and {name} was angry .",
            f"The {pet} ran after the {thief} and brought the {thing} back to {name} .")


def _with_article(word):
    return ("an " if word[0] in "aeiou" else "a ") + word
