;; Reads beyond its memory, where another sandbox's might lie.
(func $hostile (result i32) (i32.load (i32.const 0xfffffff0)))
