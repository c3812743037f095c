//! What differs between operating systems, behind functions that do not.

mod names;

pub use names::{bytes_of_path, make_private, new_uuid, path_of_bytes, random_bits};
