//! The one door to the core. Every call that can wait or lock goes through `detached`: without the interpreter,
//! with panics contained, and with the core's error as the Python exception of the same number.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use libwatch::{Error, ErrorCode};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// Why a call of ours fails: the core refused, or Python did.
pub enum Failure {
    Core(Error),
    Python(PyErr),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Core(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Failure::Python(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Python(error) => error,
            Failure::Core(error) => Python::attach(|py| exception(py, &error).unwrap_or_else(|error| error)),
        }
    }
}

impl Failure {
    pub fn is_closed(&self) -> bool {
        matches!(self, Failure::Core(error) if error.code() == ErrorCode::Closed)
    }
}

/// A refusal of the binding itself.
pub fn refuse(code: ErrorCode, message: impl Into<String>) -> Failure {
    Failure::Core(Error::new(code, message))
}

pub fn invalid(message: impl Into<String>) -> Failure {
    refuse(ErrorCode::InvalidArgument, message)
}

/// The classes are Python's (they have typed attributes and pickle); the function picks one by number.
fn exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    static BY_CODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let by_code = BY_CODE.import(py, "libwatch.errors", "error_from_code")?;
    let revision = error.compact_revision().max(error.current_revision());
    let arguments = (error.code().number(), error.message(), error.os_error(), revision);
    Ok(PyErr::from_value(by_code.call1(arguments)?))
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    static CONTAINED: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A contained panic becomes the text of an exception and not output on stderr. The hook is this module's own:
/// an extension module carries its own copy of Rust's runtime.
pub fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if INSIDE.get() {
                CONTAINED.with_borrow_mut(|text| *text = info.to_string().replace('\n', " "));
            } else {
                previous(info);
            }
        }));
    });
}

fn contained<T>(work: impl FnOnce() -> libwatch::Result<T>) -> libwatch::Result<T> {
    let outer = INSIDE.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    INSIDE.set(outer);
    outcome.unwrap_or_else(|_| {
        let text = CONTAINED.take();
        Err(Error::new(ErrorCode::Panic, format!("internal error contained: {text}")))
    })
}

/// Runs `work` while other Python threads may run.
pub fn detached<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> libwatch::Result<T> + Send,
) -> Result<T, Failure> {
    Ok(py.detach(|| contained(work))?)
}

/// A handle of the core that Python owns. Giving up the last one can sync and wait, so that too is done detached.
pub struct Handle<T: Send>(Option<T>);

impl<T: Send> Handle<T> {
    pub fn new(handle: T) -> Self {
        Self(Some(handle))
    }
}

impl<T: Send> Deref for Handle<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is taken out only by drop")
    }
}

impl<T: Send> Drop for Handle<T> {
    fn drop(&mut self) {
        let mut handle = self.0.take();
        let mut give_up = || {
            contained(|| {
                drop(handle.take());
                Ok(())
            })
        };
        let _ = Python::try_attach(|py| py.detach(&mut give_up)).unwrap_or_else(&mut give_up);
    }
}

/// Every code of the core with its name, for the test that holds the exception classes against it.
#[pyfunction]
pub fn error_codes() -> Vec<(i32, &'static str)> {
    ErrorCode::TABLE.iter().map(|row| (row.0.number(), row.1)).collect()
}

/// Hands an exception nobody can catch to `sys.unraisablehook`, naming the callback it came from.
#[pyfunction]
pub fn write_unraisable(py: Python<'_>, error: Bound<'_, PyAny>, source: Bound<'_, PyAny>) {
    PyErr::from_value(error).write_unraisable(py, Some(&source));
}
