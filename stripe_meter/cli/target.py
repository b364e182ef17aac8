"""From what an author types – `server.py`, `module:attribute` or a TOML file – to what is sold there.

Owns importing an author's code without serving it; a TOML file speaks for a server that nobody can edit: the tools it
names below `[prices]` are the tools on sale. Whatever goes wrong there is the author's own error and comes out
as one sentence; a script that would start to serve while it is imported is refused before it can.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import logging
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from stripe_meter.domain.unused import unused
from stripe_meter.errors import ConfigurationError

if TYPE_CHECKING:
    from stripe_meter.enforcement.engine import Engine

log = logging.getLogger("stripe_meter")

_MODULE: Final = "stripe_meter_target"


def sellers(target: str) -> list[Engine]:
    """Who bills for the tools of `target`, each with its tools on sale.

    Raises:
        ConfigurationError: The target cannot be imported, or nothing in it has a price.
    """
    if target.endswith(".toml"):
        return _told([_seller_in(Path(target))])
    import anyio

    from stripe_meter.enforcement import current
    from stripe_meter.mcp.attach import adapter_for
    from stripe_meter.mcp.attachment import attachments

    found: dict[Engine, None] = {}
    for server in servers_in(target):
        attachment = attachments.get(server)
        look = partial(adapter_for(server).listed, server) if attachment is None else attachment.on_sale
        declarations = anyio.run(look)
        for declaration in filter(None, declarations.values()):
            if declaration.billing is not None:
                engine = declaration.billing.engine
            else:
                engine = attachment.engine if attachment is not None else current.find(None)
            engine.register(declaration.tool)
            found[engine] = None
    if not found:
        raise ConfigurationError(
            'no tool of this server has a price; write @metered(price="$0.05") below its @mcp.tool()'
        )
    return _told(list(found))


def _told(engines: list[Engine]) -> list[Engine]:
    """`engines`; what they offer for nothing is said on the way, as the server says it when it starts."""
    for engine in engines:
        if not engine.prices.patterns:  # else only a server can list them all
            for said in unused(engine.offering, engine.tools):
                log.warning("%s", said)
    return engines


def _seller_in(path: Path) -> Engine:
    from stripe_meter.enforcement.engine import Engine
    from stripe_meter.mcp.declared import outside
    from stripe_meter.settings import from_file

    engine = Engine(settings=from_file(path))
    for name, rates in engine.prices.tools.items():
        engine.register(outside(name, rates).tool)
    if not engine.tools:
        raise ConfigurationError(
            f'{path} puts no tool on sale; write its name and price below [prices], such as summarize = "$0.05"'
        )
    return engine


def servers_in(target: str) -> list[Any]:
    """The MCP servers that `target` names, at least one.

    Raises:
        ConfigurationError: There is no such thing, or its code does not import.
    """
    name, colon, attribute = target.rpartition(":")
    # "C:\server.py" has a colon as well, and no attribute's name ends like that.
    if colon and not target.endswith(".py"):
        return [_attribute(_import_module(name), name, attribute)]
    module = _import_file(Path(target))
    found = {id(value): value for value in vars(module).values() if _is_server(value)}
    if not found:
        raise ConfigurationError(
            f"{target} defines no MCP server at its top level; name it as module:attribute, such as app.server:mcp"
        )
    return list(found.values())


def _is_server(value: object) -> bool:
    from stripe_meter.mcp.attach import adapter_for

    if isinstance(value, type):
        return False
    try:
        adapter_for(value)
    except ConfigurationError:
        return False
    return True


def _import_file(path: Path) -> ModuleType:
    try:
        source = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}; name the file of your server") from None
    try:
        tree = ast.parse(source, str(path))
    except (SyntaxError, ValueError) as error:
        raise ConfigurationError(f"{path} is not Python: {error}") from None
    _refuse_serving(path, tree)
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{path} is not a Python file; name the file of your server, such as server.py")
    module = importlib.util.module_from_spec(spec)
    # As `python server.py` does it.
    sys.path.insert(0, str(path.absolute().parent))
    sys.modules[_MODULE] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _does_not_import(str(path), error) from None
    return module


def _import_module(name: str) -> ModuleType:
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _does_not_import(name, error) from None


def _attribute(module: ModuleType, name: str, attribute: str) -> Any:
    value: Any = module
    for part in attribute.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise ConfigurationError(f"module {name} has no {attribute}; name the MCP server in it") from None
    if not _is_server(value):
        raise ConfigurationError(f"{name}:{attribute} is no MCP server; name an MCPServer or a FastMCP")
    return value


def _refuse_serving(path: Path, tree: ast.Module) -> None:
    for statement in tree.body:
        call = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "run":
            raise ConfigurationError(
                f"{path} would start to serve when it is imported (line {statement.lineno}); "
                'put that line below `if __name__ == "__main__":`'
            )


def _does_not_import(what: str, error: BaseException) -> ConfigurationError:
    if isinstance(error, ConfigurationError):
        return error
    return ConfigurationError(f"{what} cannot be imported: {type(error).__name__}: {error}")
