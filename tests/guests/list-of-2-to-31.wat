;; Returns a list that claims 2^31 warnings.
(func $hostile (result i32)
  (call $verdict (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0x1000) (i32.const 0x80000000)))
