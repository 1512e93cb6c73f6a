;; Recurses without end.
(func $hostile (result i32) (i32.add (call $hostile) (i32.const 1)))
