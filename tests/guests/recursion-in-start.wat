;; Recurses without end in its start function.
(func $deeper (param i64 i64 i64) (call $deeper (local.get 1) (local.get 2) (local.get 0)))
(func $start (call $deeper (i64.const 1) (i64.const 2) (i64.const 3)))
(start $start)
