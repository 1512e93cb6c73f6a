;; Returns 3,000 empty warnings.
;;@ memory 4
(func $hostile (result i32)
  (call $verdict (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0x10000) (i32.const 3000)))
