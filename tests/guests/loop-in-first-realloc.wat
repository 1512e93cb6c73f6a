;; Loops forever in the first `realloc`.
;;@ base
(func (export "realloc") (param i32 i32 i32 i32) (result i32) (loop $for-ever (br $for-ever)) (unreachable))
