"""Custom layers from Python files: `layers=my_layers.py`.

`loading` imports the files, `sources` collects them for other processes and machines. A class is found by the name of
its module, so a file is imported under the name that Python gives it: `my_layers` from any folder, `package.my_layers`
inside a package. `import my_layers` and checkpoints therefore refer to the same class.
"""

from __future__ import annotations

from yolo_attn.layer_files.loading import (
    import_copied,
    load_layers,
    loaded_files,
    module_of,
    registered_by,
    split_files,
)
from yolo_attn.layer_files.sources import (
    Sources,
    can_be_found,
    code_of,
    custom_modules,
    distribution_of,
    module_name,
    package_of,
    sources_of,
)

__all__ = [
    "Sources",
    "can_be_found",
    "code_of",
    "custom_modules",
    "distribution_of",
    "import_copied",
    "load_layers",
    "loaded_files",
    "module_name",
    "module_of",
    "package_of",
    "registered_by",
    "sources_of",
    "split_files",
]
