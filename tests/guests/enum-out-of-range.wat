;; Denies with a code that the contract does not define.
(func $hostile (result i32)
  (i32.store (i32.const 0x80) (i32.const 7))
  (call $verdict (i32.const 0x80) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
