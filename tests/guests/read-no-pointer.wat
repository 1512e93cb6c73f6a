;; Reads at a malformed JSON Pointer.
(data (i32.const 0x1000) "metadata/~2")
(func $hostile (result i32) (call $read (i32.const 0x1000)) (call $changed))
