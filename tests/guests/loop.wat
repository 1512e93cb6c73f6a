;; Never answers.
(func $hostile (result i32) (loop $for-ever (br $for-ever)) (unreachable))
