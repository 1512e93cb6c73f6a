;; Takes memory page by page while it starts.
(func $start (loop $for-ever (drop (memory.grow (i32.const 1))) (br $for-ever)))
(start $start)
