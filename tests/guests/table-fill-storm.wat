;; Fills a table of 16,000 elements again and again.
(table $table 16000 funcref)
(func $hostile (result i32)
  (loop $for-ever
    (table.fill $table (i32.const 0) (ref.null func) (i32.const 16000))
    (br $for-ever))
  (unreachable))
