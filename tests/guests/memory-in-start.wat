;; Grows its memory page by page in its start function.
(func $start (loop $for-ever (drop (memory.grow (i32.const 1))) (br $for-ever)))
(start $start)
