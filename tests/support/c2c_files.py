"""Files of a C2C store's users in the published form, with odd lines of known reasons."""

import random
from pathlib import Path

HEADER = ("identifierHash,type,country,language,socialNbFollowers,socialNbFollows,socialProductsLiked,productsListed,"
          "productsSold,productsPassRate,productsWished,productsBought,gender,civilityGenderId,civilityTitle,hasAnyApp,"
          "hasAndroidApp,hasIosApp,hasProfilePicture,daysSinceLastLogin,seniority,seniorityAsMonths,seniorityAsYears,"
          "countryCode")
NAMES = HEADER.split(",")
COUNTS = ("socialNbFollowers", "socialNbFollows", "socialProductsLiked", "productsListed", "productsSold",
          "productsWished", "productsBought", "daysSinceLastLogin", "seniority")


def draw_user(draw: random.Random, number: int) -> dict[str, str]:
    """Give a user's cells: one of three kinds of users, whose groups stand apart."""
    kind = number % 3
    bought = (0, draw.randrange(3), draw.randrange(20, 60))[kind]
    seniority = draw.randrange(2800, 3210)
    return {
        "identifierHash": f"{draw.getrandbits(63)}", "type": "user",
        "country": draw.choice(("France", "Côte d'Ivoire")),
        "language": draw.choice(("fr", "en")), "socialNbFollowers": str(draw.randrange(300)), "socialNbFollows": "8",
        "socialProductsLiked": str(bought * 7), "productsListed": str(bought // 4), "productsSold": str(bought // 2),
        "productsPassRate": draw.choice(("0.0", "74.0", "100", "94.736842105")), "productsWished": str(bought * 2),
        "productsBought": str(bought), "gender": draw.choice("MF"), "civilityGenderId": "1",
        "civilityTitle": draw.choice(("mr", "mrs", "")), "hasAnyApp": draw.choice(("True", "False")),
        "hasAndroidApp": "False", "hasIosApp": "True", "hasProfilePicture": "True",
        "daysSinceLastLogin": str((700 - draw.randrange(30), 300 + draw.randrange(60), 11 + draw.randrange(20))[kind]),
        "seniority": str(seniority), "seniorityAsMonths": f"{seniority / 30:.2f}",
        "seniorityAsYears": f"{seniority / 365:.2f}", "countryCode": draw.choice(("fr", "ci", "")),
    }


def write_users(path: Path, lines: list[dict[str, str] | str]) -> None:
    """Write a file; a line that is no user stands in it as it is."""
    path.write_text("\n".join([HEADER, *(
        line if isinstance(line, str) else ",".join(line[name] for name in NAMES) for line in lines)]) + "\n")
