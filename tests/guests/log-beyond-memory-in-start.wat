;; Logs a text outside its memory in its start function.
(func $start (call $write (i32.const 3) (i32.const 0xfffffff0) (i32.const 0x20)))
(start $start)
