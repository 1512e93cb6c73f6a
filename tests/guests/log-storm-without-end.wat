;; Logs until it is stopped.
(func $hostile (result i32)
  (loop $for-ever (call $write (i32.const 3) (i32.const 0x1000) (i32.const 19)) (br $for-ever))
  (unreachable))
