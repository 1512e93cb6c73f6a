;; Grows its memory by a gigabyte at once.
(func $hostile (result i32) (drop (memory.grow (i32.const 0x4000))) (call $changed))
