;; Returns an answer at an odd address.
(func $hostile (result i32) (drop (call $changed)) (i32.const 1))
