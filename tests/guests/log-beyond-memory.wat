;; Logs a text outside its memory.
(func $hostile (result i32) (call $write (i32.const 3) (i32.const 0xfffffff0) (i32.const 0x20)) (call $changed))
