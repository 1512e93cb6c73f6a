;; Requests the whole document again and again, always into the same memory.
(func $hostile (result i32)
  (loop $for-ever (call $read (i32.const 0x1000)) (br $for-ever))
  (unreachable))
;;@ base
(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0x8000))
