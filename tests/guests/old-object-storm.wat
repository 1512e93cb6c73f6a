;; Requests the whole old object again and again, always into the same memory.
(func $hostile (result i32)
  (loop $for-ever
    (call $old-object (i32.const 0x1000) (i32.const 0) (i32.const 0x40))
    (br $for-ever))
  (unreachable))
;;@ base
(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0x8000))
