;; Returns 3,000 empty notes.
;;@ memory 4
(func $hostile (result i32)
  (call $noted (i32.const 0x10000) (i32.const 3000)))
