;; Returns neither a verdict nor an error.
(func $hostile (result i32) (drop (call $changed)) (i32.store8 (i32.const 0) (i32.const 200)) (i32.const 0))
