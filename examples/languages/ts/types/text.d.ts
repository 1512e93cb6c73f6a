/** The bundler reads a JSON file as text: the contract wants the schema of the settings so. */
declare module "*.json" {
  const text: string;
  export default text;
}
