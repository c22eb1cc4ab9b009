//! The process-wide log callback.

use std::ffi::{CString, c_char, c_void};

use libwatch::LogSink;

use crate::foreign::{UserData, watch_destroy_fn};
use crate::guard;
use crate::ptr::invalid;
use crate::types::watch_status;

/// How much a log line matters.
#[expect(dead_code, reason = "a number of the header; the core says the level of a line")]
#[repr(u32)]
pub enum watch_log_level {
    /// something failed that nobody called for, or data is at risk
    WATCH_LOG_ERROR = 1,
    /// the library goes on, but somebody should know
    WATCH_LOG_WARN = 2,
    /// rare events in a store's life: open, recovery, compaction
    WATCH_LOG_INFO = 3,
    /// for those who work on the library
    WATCH_LOG_DEBUG = 4,
}

/// Takes one log line, which lives until the function returns. Runs on whichever thread has something to
/// say, also on several at once. It must not call the library, unwind or longjmp.
pub type watch_log_fn =
    Option<unsafe extern "C-unwind" fn(user_data: *mut c_void, level: u32, message: *const c_char)>;

/// Sends log lines up to level_max (WATCH_LOG_*) to a function, for the whole process; replaces the
/// previous one. NULL function = silence (the default), whatever level_max is.
/// Own: user_data goes to the library, also when the call fails. Thr: any. Blk: no. Err: INVALID_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_log_set(
    level_max: u32,
    function: watch_log_fn,
    user_data: *mut c_void,
    destroy: watch_destroy_fn,
) -> watch_status {
    let data = UserData::new(user_data, destroy);
    guard::call(move || {
        let Some(function) = function else {
            libwatch::set_log(0, None);
            return Ok(());
        };
        let known = watch_log_level::WATCH_LOG_ERROR as u32..=watch_log_level::WATCH_LOG_DEBUG as u32;
        if !known.contains(&level_max) {
            return Err(invalid(format!("level_max is {level_max}; the levels are 1 to 4")));
        }
        let sink: LogSink = Box::new(move |level, line| {
            let line: Vec<u8> = line.bytes().map(|byte| if byte == 0 { b' ' } else { byte }).collect();
            let line = CString::new(line).unwrap_or_default();
            // SAFETY: the caller gave this function for this pointer; the line lives until it returns.
            unsafe { function(data.pointer(), level, line.as_ptr()) };
        });
        libwatch::set_log(level_max, Some(sink));
        Ok(())
    })
}
