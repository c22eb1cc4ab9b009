//! What C gives to keep: a pointer and the function that ends it. It belongs to the library from the moment
//! of the call, and `destroy` runs exactly once, when the last owner lets go: also when the call fails.

use std::ffi::c_void;

/// Ends user_data. Runs exactly once, on any thread, with no lock of the library held.
pub type watch_destroy_fn = Option<unsafe extern "C-unwind" fn(user_data: *mut c_void)>;

/// A pointer of the caller with its end.
pub(crate) struct UserData {
    pointer: *mut c_void,
    destroy: watch_destroy_fn,
}

// SAFETY: the header tells the caller that callbacks and destroy run on any thread; the library only carries
// it.
unsafe impl Send for UserData {}
// SAFETY: as above; nothing here reads through the pointer.
unsafe impl Sync for UserData {}

impl UserData {
    pub(crate) fn new(pointer: *mut c_void, destroy: watch_destroy_fn) -> Self {
        Self { pointer, destroy }
    }

    pub(crate) fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            // SAFETY: the caller gave this function for this pointer, and this is the only call of it.
            unsafe { destroy(self.pointer) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard;

    unsafe extern "C-unwind" fn count(user_data: *mut c_void) {
        // SAFETY: each test gives a pointer to its own counter.
        unsafe { *user_data.cast::<u32>() += 1 };
    }

    #[test]
    fn destroy_runs_once_also_when_the_owner_panics() {
        let mut runs = 0_u32;
        drop(UserData::new((&raw mut runs).cast(), Some(count)));
        assert_eq!(runs, 1);
        let data = UserData::new((&raw mut runs).cast(), Some(count));
        guard::call(move || {
            let _data = data;
            panic!("while it owns the data")
        });
        assert_eq!(runs, 2);
        drop(UserData::new((&raw mut runs).cast(), None));
        assert_eq!(runs, 2);
    }
}
