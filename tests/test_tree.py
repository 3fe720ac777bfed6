"""The shape of the code: who may import whom, and what the design promises of every file."""

import ast
import http
import importlib
import re
from importlib.util import resolve_name

import pytest
from programs import ROOT

from presque.jobs.policy import lua_parts
from presque.redis.keys import CALL_KEYS, OLD_PARTITION_KEYS, OLD_QUEUE_KEYS, PARTITION_KEYS, QUEUE_KEYS
from presque.redis.scripts import load

SCRIPTS = load(lua_parts())
KEYS = QUEUE_KEYS | PARTITION_KEYS | OLD_QUEUE_KEYS | OLD_PARTITION_KEYS | {"store_record"}

FILES = sorted((ROOT / "presque").rglob("*.py"))
SCRIPT_FILES = sorted((ROOT / "presque" / "redis" / "lua").glob("*.lua"))
PART_FILES = sorted((ROOT / "presque" / "redis" / "lua" / "parts").glob("*.lua"))
LONGEST_FUNCTION = 45  # lines

# Room -> what it may import besides itself; `presque` is the package's own file, "*" everything.
MAY_IMPORT = {
    "presque": set(),
    "presque.errors": set(),
    "presque.tokens": {"presque.errors"},
    "presque.limits": set(),
    "presque.metrics": {"presque", "presque.limits"},
    "presque.tap": {"presque", "presque.settings", "presque.service", "presque.errors"},
    "presque.settings": {"presque.redis.url", "presque.http.hosts"},
    "presque.service": {"*"},
    "presque.web": {
        "presque",
        "presque.http",
        "presque.jobs",
        "presque.tokens",
        "presque.errors",
        "presque.limits",
        "presque.metrics",
    },
    "presque.process": {
        "presque.settings",
        "presque.background",
        "presque.redis.url",
        "presque.redis.keys",
        "presque.errors",
    },
    "presque.background": {"presque.jobs", "presque.redis", "presque.errors", "presque.metrics"},
    "presque.http": {"presque.jobs", "presque.tokens", "presque.errors", "presque.limits", "presque.metrics"},
    "presque.jobs": {"presque.redis", "presque.errors"},
    "presque.redis": {"presque.errors"},
}


def name_of(path):
    """`presque/http/site.py` -> `presque.http.site`; `presque/web/__init__.py` -> `presque.web`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): ast.parse(path.read_text(), path) for path in FILES}
PACKAGES = {name_of(path) for path in FILES if path.name == "__init__.py"}


def room_of(module):
    return ".".join(module.split(".")[:2])


def imports(module):
    """The dotted names that `module` imports, at its top or within functions: modules, and names of modules."""
    package = module if module in PACKAGES else module.rpartition(".")[0]
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def imported_modules(module):
    """Those modules of presque that `module` imports."""
    for name in imports(module):
        if room_of(name).split(".")[0] == "presque":
            yield name if name in MODULES else name.rpartition(".")[0]


def within(module, room):
    return module == room or (room != "presque" and module.startswith(f"{room}."))


@pytest.mark.parametrize("module", MODULES)
def test_a_room_imports_only_from_the_rooms_below_it(module):
    room = room_of(module)
    allowed = MAY_IMPORT[room] | {room}
    imported = set(imported_modules(module))
    assert imported <= set(MODULES), "it imports what is not there"
    if "*" not in allowed:
        assert {name for name in imported if not any(within(name, room) for room in allowed)} == set()


def test_no_modules_import_each_other_in_a_circle():
    """Types included, inside the rooms too."""
    below = {module: set(imported_modules(module)) - {module} for module in MODULES}
    left = set(MODULES)
    while free := {module for module in left if not below[module] & left}:
        left -= free
    assert left == set()


def test_every_room_is_there_and_has_its_rule():
    assert {room_of(module) for module in MODULES} == set(MAY_IMPORT)


def test_the_two_trees_of_routes_do_not_know_each_other():
    trees = ("presque.web.y2010", "presque.web.v1")
    for tree, other in (trees, trees[::-1]):
        found = {module for module in MODULES if within(module, tree)}
        assert found
        assert not {name for module in found for name in imported_modules(module) if within(name, other)}


def test_one_module_of_the_web_decodes_json_and_catches_what_that_raises():
    words = r"json\.(decode|loads)\(|\w*(Msgspec|Decode|Validation|Recursion)Error"
    web = {module for module in MODULES if within(module, "presque.web")}
    assert {module for module in web if re.search(words, ast.unparse(MODULES[module]))} == {"presque.web.bodies"}


def test_only_the_connection_and_the_listener_import_txredisapi():
    importing = {module for module in MODULES for name in imports(module) if name.split(".")[0] == "txredisapi"}
    assert importing == {"presque.redis.connection", "presque.redis.listener"}


def test_only_the_plugin_and_the_wiring_touch_the_global_reactor():
    importing = {module for module in MODULES for name in imports(module) if within(name, "twisted.internet.reactor")}
    assert importing
    assert importing <= {"presque.tap", "presque.service"}


# What stands in these modules of other people's insides, last read in Twisted 26.4 and 26.10.
INSIDES = {
    "presque.http.arrival": {"_tempDataLen"},  # what Twisted has not given to the kernel yet
    "presque.process.listening": {
        "_preexistingSocket",
        "_shouldShutdown",
    },  # how its ports begin and end; and _bindPath
}


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def test_other_peoples_insides_are_used_in_few_places_and_listed():
    """Names of others' objects that no class of ours has, and those of others' classes that ours replace."""
    ours = set()
    for tree in MODULES.values():
        for node in ast.walk(tree):
            ours.add(getattr(node, "name", None))
            if isinstance(getattr(node, "ctx", None), ast.Store):
                ours.add(getattr(node, "id", None) or getattr(node, "attr", None))
    found = {}
    for name, tree in MODULES.items():
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        inside = {word for word in attributes if is_private(word) and word not in ours}
        inside |= {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
            if is_private(node.attr) and ast.unparse(node.value) != "self"
        }
        for each in vars(importlib.import_module(name)).values():
            if isinstance(each, type) and each.__module__ == name:
                others = [base for base in each.__mro__ if not base.__module__.startswith("presque")]
                inside |= {
                    word for word in vars(each) if is_private(word) and any(word in vars(base) for base in others)
                }
        inside -= {"_exit", "_log", "_abc_impl", "_is_protocol"}  # Python's, and what Twisted too calls its log
        if inside:
            found[name] = inside
    assert found == INSIDES


def test_nothing_runs_when_a_module_is_only_imported_for_its_types():
    for module, tree in MODULES.items():
        guards = [
            node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        ]
        for guard in guards:
            assert ast.unparse(guard.test) == "TYPE_CHECKING", module
            assert all(isinstance(node, ast.Import | ast.ImportFrom) for node in guard.body), module
            assert not guard.orelse, module


@pytest.mark.parametrize(
    "module", [name for name in MODULES if room_of(name).split(".")[-1] in ("errors", "jobs", "redis", "background")]
)
def test_http_is_unknown_below_it(module):
    web = {name for name in imports(module) if re.match(r"(twisted\.web|http|klein|treq|werkzeug)\b", name)}
    # 100, 200, … may well be a number of something; 404 and 503 may not.
    known = {status.value for status in http.HTTPStatus if status % 100}
    found = []
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value in known:
            found.append((node.lineno, node.value))
        words = [getattr(node, field, None) for field in ("id", "attr", "arg", "name")]
        found += [
            word for word in words if isinstance(word, str) and re.search(r"(?i)status|response_?code|http", word)
        ]
    assert (web, found) == (set(), [])


@pytest.mark.parametrize("module", [name for name in MODULES if not within(name, "presque.redis")])
def test_milliseconds_are_known_to_the_store_alone(module):
    """A thousand converts them, in `presque.redis.units`."""
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div | ast.FloorDiv | ast.Mod):
            factors = [side.value for side in (node.left, node.right) if isinstance(side, ast.Constant)]
            assert not any(value in (1000, 1e-3) for value in factors), node.lineno


@pytest.mark.parametrize("path", SCRIPT_FILES + PART_FILES, ids=lambda path: path.name)
def test_a_script_opens_with_a_sentence(path):
    comment = re.match(r"(--.*\n)*", path.read_text())[0].replace("--", "").partition(" ARGV ")[0]
    assert re.fullmatch(r"[A-Z`].{15,}\.", " ".join(comment.split())), comment


@pytest.mark.parametrize("path", SCRIPT_FILES, ids=lambda path: path.name)
def test_a_script_says_its_arguments_and_its_reply_before_it_names_its_keys(path):
    head, found, _ = path.read_text().partition("\nlocal ")
    assert found
    assert [line.split()[1] for line in head.splitlines() if re.match(r"-- (ARGV|Reply) +\S", line)] == [
        "ARGV",
        "Reply",
    ]


HARMLESS_LATE = {"deliver"}  # and called without a limit of time


@pytest.mark.parametrize("path", SCRIPT_FILES, ids=lambda path: path.name)
def test_a_script_refuses_before_anything_else_when_its_caller_has_given_up(path):
    statements = path.read_text().partition("= unpack(KEYS)\n")[2]
    assert statements.startswith("--@include now\n") == (path.stem not in HARMLESS_LATE)
    assert re.search(r"^-- ARGV +given up at \(epoch ms\)", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_asks_only_for_keys_that_there_are(name):
    assert SCRIPTS[name].keys
    assert set(SCRIPTS[name].keys) <= KEYS | CALL_KEYS
    assert len(set(SCRIPTS[name].keys)) == len(SCRIPTS[name].keys)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_asks_for_every_key_that_it_uses_and_for_no_other(name):
    text = re.sub(r"--.*|'[^']*'", "", SCRIPTS[name].source.decode())
    body = text.replace(re.search(r"local [^=]+= unpack\(KEYS\)", text)[0], "")
    own = {word for names in re.findall(r"local (?!function)([^=\n]+)", body) for word in re.findall(r"\w+", names)}
    own |= {word for names in re.findall(r"function \w*\(([^)]*)\)", body) for word in re.findall(r"\w+", names)}
    used = set(re.findall(r"(?<![.\w])\w+", body))  # not those in a table, as `math.floor`
    asked = set(SCRIPTS[name].keys)
    assert (used & KEYS) - own <= asked, "it uses a key that it did not ask for"
    assert asked <= used, "it asks for a key that it does not use"


def code(path):
    """A script or a part without its comments and texts."""
    return re.sub(r"--.*|'[^']*'", "", path.read_text())


STATEMENTS = {"moved", "taken"}  # parts that are statements, named for the local that they define


@pytest.mark.parametrize("path", SCRIPT_FILES + PART_FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_script_and_a_part_include_what_they_use_and_nothing_else(path):
    text = code(path)
    defines = {
        name: part.stem for part in PART_FILES for name in re.findall(r"^local function (\w+)", code(part), re.M)
    }
    own = {name for name, part in defines.items() if path in PART_FILES and part == path.stem}
    called = set(re.findall(r"\b(\w+)\(", text)) | set(re.findall(r"pcall\((\w+)", text))
    used = {defines[name] for name in called & set(defines) - own} | {name for name in lua_parts() if name in text}
    if path in SCRIPT_FILES and path.stem not in HARMLESS_LATE:
        used.add("now")
    included = re.findall(r"^ *--@include (\w+)$", path.read_text(), re.MULTILINE)
    assert set(included) - STATEMENTS == used
    assert len(re.findall(r"^--@include", path.read_text(), re.MULTILINE)) <= len(set(included)), "none twice"


@pytest.mark.parametrize("path", PART_FILES, ids=lambda path: path.name)
def test_a_part_is_named_for_what_it_defines(path):
    assert re.search(rf"^local (function )?{path.stem}\b", code(path), re.MULTILINE)


def test_every_script_and_part_is_in_use():
    assert {path.stem for path in SCRIPT_FILES} == set(SCRIPTS)
    texts = [path.read_text() for path in [*SCRIPT_FILES, *PART_FILES]]
    included = {name for text in texts for name in re.findall(r"^ *--@include (\w+)$", text, re.MULTILINE)}
    assert included == {path.stem for path in PART_FILES} | set(lua_parts())
    strings = {node.value for tree in MODULES.values() for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert set(SCRIPTS) <= strings


def test_nothing_is_left_for_later():
    words = "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3])
    for path in [*FILES, *SCRIPT_FILES, *PART_FILES]:
        assert not re.search(rf"\b({words})\b", path.read_text()), path


def declares_only(function):
    """Whether it does nothing but declare decorated functions and call others that do."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return any(isinstance(step, functions) for step in function.body) and all(
        (isinstance(step, functions) and step.decorator_list)
        or (isinstance(step, ast.Expr) and isinstance(step.value, ast.Constant | ast.Call))
        or isinstance(step, ast.Return)
        for step in function.body
    )


@pytest.mark.parametrize("module", MODULES)
def test_every_function_fits_a_screen(module):
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not declares_only(node):
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, node.name
