;; Loops forever instead of answering.
(func $hostile (result i32) (loop $for-ever (br $for-ever)) (unreachable))
