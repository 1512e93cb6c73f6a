;; Returns a text that is not UTF-8.
(data (i32.const 0x1000) "\ff\fe\c0\80")
(func $hostile (result i32) (call $warned (i32.const 0x1000) (i32.const 4)))
