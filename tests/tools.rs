//! Checking and copying whole stores, through the public functions.

mod common;

#[path = "tools/backup.rs"]
mod backup;
#[path = "tools/repair.rs"]
mod repair;
#[path = "tools/shapes.rs"]
mod shapes;
#[path = "tools/verify.rs"]
mod verify;
