;; Takes memory page by page, as long as there is any.
(func $hostile (result i32)
  (loop $for-ever (drop (memory.grow (i32.const 1))) (br $for-ever))
  (unreachable))
