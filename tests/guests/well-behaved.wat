;; Not hostile: the neighbour that must stay unharmed. Adds a label on every review.
;;@ writes /metadata/labels
(data (i32.const 0x1000) "/metadata/labels/neighbour")
(data (i32.const 0x1100) "\"unharmed\"")
(func (export "evaluate") (type $evaluate)
  (call $add (i32.const 0x1000) (i32.const 0x1100))
  (call $changed))
