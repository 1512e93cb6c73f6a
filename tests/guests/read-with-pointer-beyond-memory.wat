;; Reads at a pointer whose text is outside its memory.
(func $hostile (result i32) (call $object (i32.const 0xfffffff0) (i32.const 0x20) (i32.const 0x40)) (call $changed))
