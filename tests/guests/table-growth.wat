;; Grows a table to a million elements.
(table $table 1 funcref)
(func $hostile (result i32)
  (drop (table.grow $table (ref.null func) (i32.const 1000000)))
  (call $changed))
