;; Returns a text that begins inside its memory and ends outside.
(func $hostile (result i32) (call $warned (i32.const 0xfff0) (i32.const 0x20)))
