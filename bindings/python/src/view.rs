//! Bytes that Python may keep. What the core answers borrows from a result or a response; here the borrowed
//! part and a share of its owner travel together, so that a key, a value or a memoryview of one outlives the
//! result, the stream and the store it came from.

#![expect(
    unsafe_code,
    reason = "a part is stored beside the owner it borrows from; the buffer protocol is C"
)]

use std::any::Any;
use std::ffi::c_int;
use std::marker::PhantomData;
use std::sync::Arc;

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

/// A kind of thing that borrows from its owner.
pub trait Part: 'static {
    /// The thing, borrowed for `'a`.
    type Of<'a>: Copy + Send + Sync;

    /// The same thing for a shorter time.
    fn shorten<'a>(part: Self::Of<'static>) -> Self::Of<'a>;
}

/// The owner itself, or a value inside it.
pub struct Whole<T>(PhantomData<fn() -> T>);

impl<T: Send + Sync + 'static> Part for Whole<T> {
    type Of<'a> = &'a T;

    fn shorten<'a>(part: &'static T) -> &'a T {
        part
    }
}

/// A key-value pair.
pub struct Pair;

impl Part for Pair {
    type Of<'a> = libwatch::KeyValue<'a>;

    fn shorten<'a>(part: libwatch::KeyValue<'static>) -> libwatch::KeyValue<'a> {
        part
    }
}

/// One event of a response.
pub struct Change;

impl Part for Change {
    type Of<'a> = libwatch::Event<'a>;

    fn shorten<'a>(part: libwatch::Event<'static>) -> libwatch::Event<'a> {
        part
    }
}

/// A part together with a share of its owner. The `'static` in `part` is a lie that stays inside this type:
/// `get` gives it out for no longer than the share lives.
pub struct Held<P: Part> {
    part: P::Of<'static>,
    owner: Arc<dyn Any + Send + Sync>,
}

impl<P: Part> Clone for Held<P> {
    fn clone(&self) -> Self {
        Self { part: self.part, owner: self.owner.clone() }
    }
}

impl<T: Send + Sync + 'static> Held<Whole<T>> {
    pub fn new(owner: T) -> Self {
        let owner = Arc::new(owner);
        // SAFETY: the value lies in the Arc's allocation, where nothing moves or mutably borrows it, and the
        // Arc is kept beside the reference; every copy of the reference is in a `Held` with a share of its own.
        let part: &'static T = unsafe { &*Arc::as_ptr(&owner) };
        Self { part, owner }
    }
}

impl<P: Part> Held<P> {
    pub fn get(&self) -> P::Of<'_> {
        P::shorten(self.part)
    }

    fn sibling<Q: Part>(&self, part: Q::Of<'static>) -> Held<Q> {
        Held { part, owner: self.owner.clone() }
    }
}

/// `choose` works for every lifetime, so what it answers can only come from its argument.
impl<T: Send + Sync + 'static> Held<Whole<T>> {
    pub fn part<Q: Part>(&self, choose: impl for<'a> FnOnce(&'a T) -> Q::Of<'a>) -> Held<Q> {
        self.sibling(choose(self.part))
    }

    pub fn part_if<Q: Part>(
        &self,
        choose: impl for<'a> FnOnce(&'a T) -> Option<Q::Of<'a>>,
    ) -> Option<Held<Q>> {
        choose(self.part).map(|part| self.sibling(part))
    }
}

impl Held<Change> {
    pub fn kv(&self) -> Held<Pair> {
        self.sibling(self.part.kv)
    }

    pub fn prev_kv(&self) -> Option<Held<Pair>> {
        self.part.prev_kv.map(|kv| self.sibling(kv))
    }
}

/// Which bytes of a pair a view shows.
#[derive(Clone, Copy)]
pub enum Field {
    Key,
    Value,
}

/// The exporter behind `key_view` and `value_view`: the memoryview holds it, and it holds the owner's share.
#[pyclass(frozen, module = "libwatch")]
pub struct View {
    pair: Held<Pair>,
    field: Field,
}

impl View {
    pub fn memoryview(py: Python<'_>, pair: Held<Pair>, field: Field) -> PyResult<Bound<'_, PyMemoryView>> {
        PyMemoryView::from(Bound::new(py, View { pair, field })?.as_any())
    }

    fn bytes(&self) -> &[u8] {
        let pair = self.pair.get();
        match self.field {
            Field::Key => pair.key,
            Field::Value => pair.value,
        }
    }
}

#[pymethods]
impl View {
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let bytes = slf.get().bytes();
        let len = isize::try_from(bytes.len()).map_err(|_| PyBufferError::new_err("too long"))?;
        // SAFETY: `view` is the caller's to be filled; the bytes stay where they are while `slf` lives, of which
        // the filled view holds a reference; they are exported read-only.
        let status = unsafe {
            ffi::PyBuffer_FillInfo(view, slf.as_ptr(), bytes.as_ptr().cast_mut().cast(), len, 1, flags)
        };
        if status == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}
