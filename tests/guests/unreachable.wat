;; Panics, as a guest in Rust would.
(func $hostile (result i32) (unreachable))
