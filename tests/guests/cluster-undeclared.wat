;; Asks for the namespace's labels, and its manifest doesn't say so.
(func $hostile (result i32) (call $data (i32.const 0) (i32.const 0x40)) (call $changed))
