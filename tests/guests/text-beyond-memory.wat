;; Answers with a text that begins in its memory and ends outside of it.
(func $hostile (result i32) (call $warned (i32.const 0xfff0) (i32.const 0x20)))
