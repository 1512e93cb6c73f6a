;; Calls through a null reference in a table.
(table 1 funcref)
(func $hostile (result i32) (call_indirect (result i32) (i32.const 0)))
