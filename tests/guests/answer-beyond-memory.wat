;; Returns an answer outside its memory.
(func $hostile (result i32) (i32.const 0xfffffff0))
