//! `libwatch._libwatch`: the compiled half of the Python package. It only converts; what libwatch does is in the
//! core, and what is comfortable in Python (Watch, asyncio, callbacks) is in `python/libwatch`.
//!
//! Rules of this crate: nothing waits or locks while attached to the interpreter (`errors::detached`), no thread
//! of the core ever attaches, every class is frozen, and a view owns a share of what it shows (`view::Held`).

mod convert;
mod errors;
mod kv;
mod ops;
mod response;
mod result;
mod store;
mod stream;
mod tools;
mod view;

/// The compiled half of package libwatch. Import from `libwatch`.
#[pyo3::pymodule]
mod _libwatch {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::convert::prefix_end;
    #[pymodule_export]
    use crate::errors::{error_codes, write_unraisable};
    #[pymodule_export]
    use crate::kv::{Event, KeyValue};
    #[pymodule_export]
    use crate::ops::{Compare, Op, make_compare, op_delete, op_put, op_range, op_txn};
    #[pymodule_export]
    use crate::response::{WatchResponse, rest_of};
    #[pymodule_export]
    use crate::result::{DeleteResult, PutResult, RangeResult, TxnResult};
    #[pymodule_export]
    use crate::store::{Store, open};
    #[pymodule_export]
    use crate::stream::{Consumer, WatchStream, close_streams};
    #[pymodule_export]
    use crate::tools::{BackupReport, VerifyReport, verify};

    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
    #[pymodule_export]
    #[expect(non_upper_case_globals, reason = "Python's name")]
    const abi_version: u32 = 1;

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        crate::errors::install_panic_hook();
        Ok(())
    }
}
