;; Reads beyond its memory, toward the memory of another sandbox.
(func $hostile (result i32) (i32.load (i32.const 0xfffffff0)))
