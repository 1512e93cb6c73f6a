;; Loops forever in `validate-settings`.
(func (export "validate-settings") (param i32 i32) (result i32) (loop $for-ever (br $for-ever)) (unreachable))
