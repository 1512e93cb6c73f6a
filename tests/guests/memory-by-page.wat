;; Grows its memory page by page until it gets no more.
(func $hostile (result i32)
  (loop $for-ever (drop (memory.grow (i32.const 1))) (br $for-ever))
  (unreachable))
